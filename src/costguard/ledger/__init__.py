"""Where entries, holds and balances live: one protocol, several stores."""
