"""torch.verdict"""
