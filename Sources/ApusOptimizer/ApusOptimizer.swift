// ApusOptimizer
