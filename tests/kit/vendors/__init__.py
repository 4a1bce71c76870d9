"""Mock vendors: real HTTP servers on loopback that refuse what a vendor refuses, and lose answers as networks do."""
