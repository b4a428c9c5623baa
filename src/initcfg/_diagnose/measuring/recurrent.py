"""What is inside of nn.RNN, nn.GRU and nn.LSTM, which run as one operation: their gates, computed again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_SAMPLES, _STEPS = 32, 64
TANH_ENDS, SIGMOID_ENDS = 0.97, 0.485


def gates(module: nn.RNNBase, given: torch.Tensor) -> dict[tuple[str, Any], float]:
    """By weight and kind (``"tanh"``, ``"sigmoid"``): the share of saturated activations in each layer."""
    signal = given.detach().float()
    if signal.dim() == 2:
        signal = signal.unsqueeze(0 if module.batch_first else 1)
    # Time first, and not all of a long sequence.
    signal = (signal.transpose(0, 1) if module.batch_first else signal)[:_STEPS, :_SAMPLES]
    found: dict[tuple[str, Any], float] = {}
    for layer in range(module.num_layers):
        outputs = []
        for direction in range(2 if module.bidirectional else 1):
            end = f"_l{layer}{'_reverse' if direction else ''}"
            run = signal.flip(0) if direction else signal
            output, shares = _layer(module, run, end)
            found |= {(f"weight_ih{end}", kind): share for kind, share in shares.items()}
            outputs.append(output.flip(0) if direction else output)
        signal = torch.cat(outputs, -1)
    return found


def _layer(module: nn.RNNBase, signal: torch.Tensor, end: str) -> tuple[torch.Tensor, dict[str, float]]:
    of_input, of_state = (getattr(module, f"weight_{each}{end}").detach().float() for each in ("ih", "hh"))
    zero = of_input.new_zeros(len(of_input))
    biases = [
        getattr(module, f"bias_{each}{end}").detach().float() if module.bias else zero
        for each in ("ih", "hh")
    ]
    projection = getattr(module, f"weight_hr{end}", None)
    state = signal.new_zeros(signal.shape[1], of_state.shape[1])
    cell = signal.new_zeros(signal.shape[1], module.hidden_size)
    outputs, tanhs, sigmoids = [], [], []
    for step in signal:
        left, right = step @ of_input.T + biases[0], state @ of_state.T + biases[1]
        if isinstance(module, nn.GRU):
            (r1, z1, n1), (r2, z2, n2) = left.chunk(3, -1), right.chunk(3, -1)
            reset, update = (r1 + r2).sigmoid(), (z1 + z2).sigmoid()
            new = (n1 + reset * n2).tanh()
            state = (1 - update) * new + update * state
            sigmoids += [reset, update]
            tanhs.append(new)
        elif isinstance(module, nn.LSTM):
            entry, forget, new, exit_ = (left + right).chunk(4, -1)
            entry, forget, new, exit_ = entry.sigmoid(), forget.sigmoid(), new.tanh(), exit_.sigmoid()
            cell = forget * cell + entry * new
            state = exit_ * cell.tanh()
            if projection is not None:
                state = state @ projection.detach().float().T
            sigmoids += [entry, forget, exit_]
            tanhs.append(new)
        else:
            raw = left + right
            state = raw.tanh() if module.mode == "RNN_TANH" else raw.relu()
            if module.mode == "RNN_TANH":
                tanhs.append(state)
        outputs.append(state)
    shares = {}
    if tanhs:
        shares["tanh"] = (torch.stack(tanhs).abs() > TANH_ENDS).float().mean().item()
    if sigmoids:
        shares["sigmoid"] = ((torch.stack(sigmoids) - 0.5).abs() > SIGMOID_ENDS).float().mean().item()
    return torch.stack(outputs), shares
