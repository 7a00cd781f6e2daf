// ApusONNX
