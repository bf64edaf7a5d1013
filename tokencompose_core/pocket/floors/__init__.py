"""What the pocket models must reach, on scenes that none of them was trained on."""
