"""Models at work: artifacts, the scorer, outcomes, and profiles of what goes in and comes out."""
