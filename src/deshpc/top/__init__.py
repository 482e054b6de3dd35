"""What follows complete states: logits, loss, gradients; and the sums of dense gradients."""
