"""Live mode: trains cells under any distillation. The only rooms of the project that import torch."""
