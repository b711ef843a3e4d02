"""What a usage costs: prices compiled to integers, receipts in exact decimals."""
