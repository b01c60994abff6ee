"""What is required: clauses as dated, sourced data, verdicts and the life of a breach. No clock, store or socket."""
