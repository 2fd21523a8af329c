"""The device of the tests that have no business with one in particular: the CPU, or what ODKD_TEST_DEVICE says."""

import os

import torch

NAME = os.environ.get("ODKD_TEST_DEVICE", "cpu")
DEVICE = torch.device(NAME)
