// Pictures as the network takes them: resized as Pillow does, by Lanczos' filter.

const REACH = 3;

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
const lanczos = (x) => (Math.abs(x) < REACH ? sinc(x) * sinc(x / REACH) : 0);

// For each new place, where the old ones that it is made of begin, and their weights.
function weightsOf(oldSize, newSize) {
  const scale = oldSize / newSize;
  const wide = Math.max(scale, 1); // the filter is as wide as what becomes one pixel
  return Array.from({ length: newSize }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(Math.floor(center - REACH * wide + 0.5), 0);
    const last = Math.min(Math.floor(center + REACH * wide + 0.5), oldSize);
    const weights = Array.from({ length: last - first }, (_, i) =>
      lanczos((first + i - center + 0.5) / wide),
    );
    const total = weights.reduce((sum, one) => sum + one, 0);
    return { first, weights: weights.map((one) => one / total) };
  });
}

const asByte = (value) => Math.min(Math.max(Math.round(value), 0), 255);

// Along one axis, `at(line, place)` of so many lines to an array of lines.
function resized(at, numLines, oldSize, newSize) {
  const all = weightsOf(oldSize, newSize);
  return Array.from({ length: numLines }, (_, line) =>
    all.map(({ first, weights }) =>
      asByte(weights.reduce((sum, weight, i) => sum + weight * at(line, first + i), 0)),
    ),
  );
}

// The numbers of a picture, [height][width][channels] in one row.
export async function pixelsOf(file, { image_shape: [height, width, channels], program: { inverts } }) {
  const picture = await createImageBitmap(file);
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const { data } = context.getImageData(0, 0, picture.width, picture.height);
  const byte = (y, x, channel) => {
    const start = 4 * (y * picture.width + x);
    if (channels === 3) return data[start + channel];
    return (data[start] * 19595 + data[start + 1] * 38470 + data[start + 2] * 7471 + 32768) >> 16;
  };
  const planes = Array.from({ length: channels }, (_, channel) => {
    const across = resized((y, x) => byte(y, x, channel), picture.height, picture.width, width);
    return resized((x, y) => across[y][x], width, picture.height, height); // [x][y]
  });
  const values = [];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (const plane of planes) values.push(inverts ? 1 - plane[x][y] / 255 : plane[x][y] / 255);
    }
  }
  return values;
}
