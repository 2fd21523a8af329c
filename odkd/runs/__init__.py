"""The run folder and its copy in MLflow."""
