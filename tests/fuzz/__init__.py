"""Tests of both answer renderers: ordinary text must look the same in both, hostile text must do nothing."""
