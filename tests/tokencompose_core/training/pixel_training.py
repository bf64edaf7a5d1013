"""Training and captions by plain models, for each kind of Stable Diffusion."""

import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from tests.tokencompose_core.training.small_run import make_samples
from tokencompose_core.attention.capture import capture_attention
from tokencompose_core.attention.layers import cross_attention_layers
from tokencompose_core.objectives.phrase_tokens import index_phrase_tokens
from tokencompose_core.objectives.tokencompose import paper_losses
from tokencompose_core.training.crop import crop_image, crop_mask, reduce_mask
from tokencompose_core.training.order import batch_order


@torch.no_grad()
def read_plainly(folder, captions):
    """Text states and pooled states by the text encoders alone, as their papers use them."""

    def tokens(name):
        tokenizer = CLIPTokenizer.from_pretrained(folder / name)
        return tokenizer(captions, padding="max_length", return_tensors="pt").input_ids

    if not (folder / "text_encoder_2").exists():
        text_encoder = CLIPTextModel.from_pretrained(folder / "text_encoder")
        return text_encoder(tokens("tokenizer")).last_hidden_state, None
    first = CLIPTextModel.from_pretrained(folder / "text_encoder")
    second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2")
    one = first(tokens("tokenizer"), output_hidden_states=True)
    two = second(tokens("tokenizer_2"), output_hidden_states=True)
    # The states before the last layer, without the final norm, of both encoders side by side.
    states = torch.cat([one.hidden_states[-2], two.hidden_states[-2]], dim=-1)
    return states, two.text_embeds


def train_from_pixels(unet, folder, noise_scheduler, settings):
    vae = AutoencoderKL.from_pretrained(folder, subfolder="vae")
    samples = {sample.key: sample for sample in make_samples()}
    optimizer = torch.optim.AdamW(
        unet.train().parameters(),
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        weight_decay=settings.adam_weight_decay,
        eps=settings.adam_epsilon,
    )
    layers = cross_attention_layers(unet, settings.layers, 8)
    for step in range(settings.num_steps):
        batch = [samples[k] for k in batch_order(list(samples), 3, settings.seed)(step)]
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        draws = torch.randn((2, 3, 4, 8, 8), generator=generator)
        timesteps = torch.randint(0, 1000, (3,), generator=generator)
        with torch.no_grad():
            pixels = torch.stack([crop_image(sample.image, 16) for sample in batch])
            posterior = vae.encode(pixels).latent_dist
            latents = (posterior.mean + posterior.std * draws[0]) * vae.config.scaling_factor
        states, pooled = read_plainly(folder, [sample.caption for sample in batch])
        added = None
        if pooled is not None:
            times = torch.tensor([[20.0, 24.0, 0.0, 2.0, 16.0, 16.0]]).expand(3, -1)
            added = {"text_embeds": pooled, "time_ids": times}
        masks = [crop_mask(mask, 16) for sample in batch for mask in sample.masks]
        grids = {
            side: torch.stack([reduce_mask(mask, side, "coverage") for mask in masks])
            for side in (8, 4)
        }
        tokens = index_phrase_tokens([[[2, 3], [6]]] * 3)
        with capture_attention(unet, layers) as attention:
            attention.select(tokens.columns)
            predicted = unet(
                noise_scheduler.add_noise(latents, draws[1], timesteps),
                timesteps,
                states,
                added_cond_kwargs=added,
            ).sample
        target = draws[1]
        if noise_scheduler.config.prediction_type == "v_prediction":
            level = noise_scheduler.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            target = level.sqrt() * draws[1] - (1 - level).sqrt() * latents
        grounding = paper_losses(attention.maps, tokens, grids)
        loss = (predicted - target).square().mean()
        loss = loss + settings.weights["token"] * grounding["token"]
        loss = loss + settings.weights["pixel"] * grounding["pixel"]
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), settings.max_grad_norm)
        optimizer.step()
