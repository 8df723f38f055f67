"""The proof that an encoder is worth having: probes, baselines, label curves, intervals."""
