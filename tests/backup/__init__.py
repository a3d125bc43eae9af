"""Tests of backup and restore on real servers, with real failures and the real product."""
