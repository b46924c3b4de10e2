"""Networks compiled by OpenVINO: convolutional models on the CPU, without torch."""
