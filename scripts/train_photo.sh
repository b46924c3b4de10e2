#!/usr/bin/env bash
# Trains the model `photo` on a folder of pictures (or tar shards): all stages, each resumable.
#
#   scripts/train_photo.sh PICTURES OUT [VALIDATION]
#
# OUT receives the runs and the model folder OUT/model. VALIDATION defaults to PICTURES. After an interruption run it
# again: finished stages are skipped, an unfinished one continues from its last checkpoint.
#
# Environment: STEPS (of each of the first two stages), LAST_STEPS (of the third), CODED_STEPS and CODED_MEGAPIXELS (of
# the last), DEVICE (cpu, cuda), CROP and LAST_CROP (pixels), SETTINGS, LAST_SETTINGS and CODED_SETTINGS (further KEY=VALUE
# pairs, separated by spaces). On a GPU, for example:
#   DEVICE=cuda STEPS=20000 SETTINGS="data.batch=64 data.resident=true run.compile=true run.precision=bf16" \
#   LAST_SETTINGS="data.batch=16 data.resident=true run.compile=true run.precision=bf16"
# The last stage encodes crops on the CPU and keeps about 25 bytes for each of their pixels, in memory and, until it has
# finished, in OUT/coded/rows.pt. OUT/first is the model that encodes them.
set -euo pipefail

[ $# -ge 2 ] || { sed -n '2,15p' "$0" | cut -c3-; exit 2; }
pictures=$1 out=$2 validation=${3:-$1}
steps=${STEPS:-20000} last_steps=${LAST_STEPS:-5000} coded_steps=${CODED_STEPS:-4000}
case $pictures$validation in *[\"\\]*) echo "$0: folders with quotes or backslashes in their names" >&2; exit 2 ;; esac

# stage NAME STEPS CROP KEY=VALUE...: run or resume a stage unless it has finished.
stage() {
  local run="$out/$1" steps=$2 crop=$3
  shift 3
  if [ -f "$run/finished" ]; then
    echo "$run: finished already"
    return
  fi
  local resume=()
  [ -f "$run/checkpoint.pt" ] && resume=(--resume)
  local sets=()
  for pair in "data.train=[\"$pictures\"]" "data.val=[\"$validation\"]" "optimizer.steps=$steps" "data.crop=$crop" "$@"; do
    sets+=(--set "$pair")
  done
  vqcodec train tokenizer photo -o "$run" --device "${DEVICE:-cpu}" "${resume[@]}" "${sets[@]}"
  touch "$run/finished"
}

read -r -a settings <<<"${SETTINGS:-}"
read -r -a last_settings <<<"${LAST_SETTINGS:-}"
read -r -a coded_settings <<<"${CODED_SETTINGS:-}"

stage context "$steps" "${CROP:-256}" "optimizer.decay=$((steps * 3 / 4))" 'optimizer.frozen=["decoder"]' \
  loss.ms_ssim=0 "${settings[@]}"
stage decoder "$steps" "${CROP:-256}" "start_from=$out/context" "optimizer.decay=$((steps * 3 / 4))" \
  'optimizer.frozen=["context"]' 'rate.rounding=[0.3,0.42]' "${settings[@]}"
# Both networks, large crops, values as the encoder selects them, the learning rate to zero.
stage large-crops "$last_steps" "${LAST_CROP:-512}" "start_from=$out/decoder" "optimizer.decay=$last_steps" \
  rate.select=true data.batch=2 optimizer.lr=1e-4 optimizer.context_lr=3e-4 "${last_settings[@]}"
# The context network once more, on values that the encoder emits with the networks so far.
[ -f "$out/coded/finished" ] || vqcodec train export "$out/large-crops" -o "$out/first" -f
stage coded "$coded_steps" "${CROP:-256}" "start_from=$out/large-crops" "optimizer.decay=$((coded_steps * 3 / 4))" \
  'optimizer.frozen=["decoder"]' loss.ms_ssim=0 optimizer.ema=0.998 "encoded.model=$out/first" \
  "encoded.megapixels=${CODED_MEGAPIXELS:-180}" "${coded_settings[@]}"
rm -f "$out/coded/rows.pt"
vqcodec train export "$out/coded" -o "$out/model" -f
