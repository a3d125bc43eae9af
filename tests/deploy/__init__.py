"""Tests of the containers: without an engine (test_*.py), and on one (`./naru test deploy`)."""
