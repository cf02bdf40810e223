"""Text generation on ONNX Runtime GenAI: prompts, verified opening, streaming."""
