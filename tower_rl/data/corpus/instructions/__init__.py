"""Parallel data as instructions: pivots, joined documents, then one chat of each pair, and for cpt those chats as texts."""
