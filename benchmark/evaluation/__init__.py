"""Evaluation: what a trained model does with every sample, and how long it takes."""
