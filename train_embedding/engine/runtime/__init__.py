"""How a step is computed: number formats, loss scaling and gradient checkpointing."""
