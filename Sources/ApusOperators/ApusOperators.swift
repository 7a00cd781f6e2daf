// ApusOperators
