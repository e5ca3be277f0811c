"""A checked set as record files that need nothing beside them."""
