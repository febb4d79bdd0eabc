"""The numbers of the contract, each measured beside a floor in the same run."""
