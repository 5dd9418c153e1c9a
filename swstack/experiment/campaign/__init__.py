"""Campaigns: thousands of trials over configurations, schemes, fault rates and chips, none lost and none done twice."""
