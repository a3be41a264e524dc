"""ONNX: models for ONNX Runtime and TensorRT, INT8 as QuantizeLinear and DequantizeLinear by the policy."""
