// ApusGraph
