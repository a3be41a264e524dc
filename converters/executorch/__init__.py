"""ExecuTorch: programs for the XNNPACK delegate, INT8 as PT2E quantization by the policy."""
