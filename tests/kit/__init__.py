"""What tests share: servers, processes, sites, traffic, the oracle and the verdict. No test is in here."""
