"""Photos in class folders, or in tar shards made of them, as ImageNet has them."""
