"""What costguard costs: `python -m benchmarks` prints it, docs/benchmarks.md says what is measured."""
