"""Engines of rigid bodies, each a pure function from a state and a control to the state after."""
