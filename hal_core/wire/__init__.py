"""What processes of HAL say to each other: frames over trio streams, and the typed messages in them."""
