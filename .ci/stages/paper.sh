# The paper's experiments, small.
activate_test_environment
python bench/paper/run.py --quick --cache "$scratch/paper"
python bench/paper/whole_matrix.py --quick --cache "$scratch/paper"
