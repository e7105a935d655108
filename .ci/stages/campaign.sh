# Random problems of hostile magnitudes for a hundred seconds, each with a time limit.
activate_test_environment
python tests/campaign/magnitudes.py --seconds 100
