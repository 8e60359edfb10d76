"""The queue of requests: putting, sending, claiming and finishing them."""

PRIORITY = "priority"
BULK = "bulk"
QUEUES = (PRIORITY, BULK)
