"""Records as the JSON documents of Docker's API, noun by noun. Everything here is pure: values in, documents out."""
