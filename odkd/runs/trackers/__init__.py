"""The trackers that odkd has: MLflow, TensorBoard, Weights & Biases. `odkd.runs.tracker` says what one is."""
