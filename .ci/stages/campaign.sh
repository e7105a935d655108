# Random problems of hostile magnitudes, each with a time limit: the same ones every time, as far as a
# hundred seconds last.
activate_test_environment
python tests/campaign/magnitudes.py --problems 3000 --seconds 100
