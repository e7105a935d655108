# What stages share: where they build, with what, and in which environment.
cores=$(nproc)
export CI=true CXX=g++ CMAKE_GENERATOR=Ninja CMAKE_BUILD_PARALLEL_LEVEL=$cores
export CTEST_OUTPUT_ON_FAILURE=1 CTEST_PARALLEL_LEVEL=$cores
# Tests run on all cores as it is, and OpenMP's threads spin while they wait for each other.
export OMP_NUM_THREADS=1
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
tree=$scratch/tree

# Builds from the tree go on in one place, so that each file is compiled once; the C++ tests and the
# benchmarks come with the first of them.
release=$scratch/release
with_cpp=ON # `quick` does without

on_all_cores="--numprocesses=$cores --dist=worksteal"

fail() { printf 'error: %s\n' "$1" >&2; exit 1; }

install_system_packages() {
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    cmake dataset-fashion-mnist doctest-dev g++ git libbenchmark-dev ninja-build \
    python3 python3-dev python3-venv >/dev/null
}

# Nothing but what git would commit: leftovers of a developer's builds cannot help a stage to pass.
copy_tree() {
  mkdir "$tree"
  git -c safe.directory='*' ls-files -z --cached --others --exclude-standard |
    tar --create --null --files-from=- | tar --extract --directory="$tree"
}

# activate_clean_environment NAME: a new virtual environment of that name, active from here on.
activate_clean_environment() {
  "${PYTHON:-python3}" -m venv "$scratch/$1"
  # shellcheck disable=SC1091
  . "$scratch/$1/bin/activate"
}

# The environment that most stages work in: built once, as the README's test command builds it.
activate_test_environment() {
  local environment=test-$with_cpp
  if [[ ! -d $scratch/$environment ]]; then
    activate_clean_environment "$environment"
    pip install --quiet "pybind11>=3.0" pytest-xdist
    with_release_build bash -euo pipefail -c "$(install_part "$(readme_command test)")"
  fi
  # shellcheck disable=SC1091
  . "$scratch/$environment/bin/activate"
}

# The one line inside README.md's code fences that installs the extra $1.
readme_command() {
  local lines
  lines=$(awk '/^ *```/ { fenced = !fenced; next } fenced' README.md | grep -F ".[$1]" || true)
  [[ -n $lines && $lines != *$'\n'* ]] ||
    fail "README.md should print one command that installs .[$1], found: ${lines:-none}"
  printf '%s\n' "${lines#\$ }"
}

install_part() { printf '%s\n' "${1%%&&*}"; }

# with_release_build COMMAND...: a command that builds a wheel from the tree, in isolation as a user
# does but for pybind11, which lies elsewhere in every isolated environment.
with_release_build() {
  local options="WKMEANS_WERROR=ON;WKMEANS_BUILD_TESTS=$with_cpp;WKMEANS_BUILD_BENCH=$with_cpp"
  SKBUILD_BUILD_DIR=$release \
    SKBUILD_CMAKE_DEFINE="$options;pybind11_DIR=$(python -m pybind11 --cmakedir)" "$@"
}

run_readme_command() {
  local command
  command=$(readme_command "$1")
  printf '+ %s\n' "$command"
  with_release_build bash -euo pipefail -c "$command"
}

# The C++ sources, NUL after each: what clang-format formats.
cpp_sources() {
  find csrc tests bench \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0
}

check_formatting() {
  pip install --quiet -c constraints.txt "$(lint_requirement ruff)" "$(lint_requirement mypy)" \
    "$(lint_requirement clang-format)"
  ruff check .
  ruff format --check .
  mypy
  cpp_sources | xargs -0 clang-format --dry-run -Werror
}

# lint_requirement TOOL: the version of it that the extra `lint` pins.
lint_requirement() { grep -o "\"$1==[^\"]*\"" pyproject.toml | tr -d '"'; }

# The source distribution, unpacked at $sdist: a build from it proves that it is whole.
sdist=$scratch/sdist
unpack_sdist() {
  [[ -d $sdist ]] && return
  pip install --quiet build
  python -m build --sdist --outdir "$scratch/dist" .
  mkdir "$sdist"
  tar --extract --file "$scratch"/dist/*.tar.gz --directory "$sdist" --strip-components=1
}
