"""Students: small, fast networks that learn online. Any nn.Module from images [B, 3, H, W] to logits [B, K, H, W].

One module per network, whose constructor has an argument `num_classes`, and one YAML file per student.
"""
