"""Feedback as its definition has it, slowly and in long doubles: no factor, no blocks.

Columns are quantised one after another. The target of a column is what it would be if it and all
columns not yet quantised could still be chosen as real numbers.
"""

from __future__ import annotations

import numpy as np


def solve(matrix, right):
    """Gaussian elimination with pivoting, in long doubles."""
    a = np.column_stack([matrix, right]).astype(np.longdouble)
    n = len(a)
    for j in range(n):
        pivot = j + int(np.argmax(np.abs(a[j:, j])))
        a[[j, pivot]] = a[[pivot, j]]
        for i in range(j + 1, n):
            a[i] -= a[i, j] / a[j, j] * a[j]
    x = np.zeros((n, a.shape[1] - n), np.longdouble)
    for j in reversed(range(n)):
        x[j] = (a[j, n:] - a[j, j + 1 : n] @ x[j + 1 :]) / a[j, j]
    return x


def feed_back(weights, matrix, order, choose):
    """The values ``choose(column, target)`` picks in turn for a row, and the targets it met."""
    w = np.asarray(weights, np.longdouble)
    values, targets = w.copy(), w.copy()
    for position, column in enumerate(order):
        done, left = order[:position], order[position:]
        errors = (w - values)[done]
        answer = solve(matrix[np.ix_(left, left)], (matrix[np.ix_(left, done)] @ errors)[:, None])
        targets[column] = w[column] + answer[0, 0]
        values[column] = choose(column, targets[column])
    return values, targets


def column_weights(matrix, order):
    """``l_ii^2``: what a squared error of each column costs once the later ones make up for it."""
    weights = np.zeros(len(matrix), np.longdouble)
    for position, column in enumerate(order):
        left = order[position:]
        unit = np.zeros((len(left), 1))
        unit[0] = 1
        weights[column] = 1 / solve(matrix[np.ix_(left, left)], unit)[0, 0]
    return weights


def objective(errors, matrix):
    e = np.asarray(errors, np.longdouble)
    return np.einsum("...i,ij,...j->...", e, np.asarray(matrix, np.longdouble), e)
