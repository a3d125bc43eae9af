"""The containers: what of them needs no engine (test_*.py), and `./naru test deploy`, which brings them up on one."""
