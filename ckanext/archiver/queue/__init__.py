"""The queue of requests: putting, sending, claiming and finishing them."""
