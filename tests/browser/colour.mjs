/** Colours as eyes see them: contrast by WCAG 2.2, distance in OKLab, and three ways of seeing fewer hues. */

function channels(colour) {
  const [, r, g, b, alpha] = /^rgba?\((\d+), (\d+), (\d+)(?:, ([\d.]+))?\)$/.exec(colour) ?? [];
  if (r === undefined || (alpha !== undefined && alpha !== '1')) throw new Error(`not an opaque colour: ${colour}`);
  return [r, g, b].map((one) => linear(Number(one) / 255));
}

const linear = (one) => (one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);

function luminance([r, g, b]) {
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** Contrast ratio of two opaque colours, 1 to 21. */
export function contrast(one, other) {
  const [dark, light] = [one, other].map((colour) => luminance(channels(colour))).sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** Full dichromacy, in linear RGB, after Machado, Oliveira and Fernandes (2009). */
const EYES = {
  normal: [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
  protan: [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
  deutan: [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
  tritan: [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
};

const times = (matrix, vector) => matrix.map((row) => row.reduce((sum, one, at) => sum + one * vector[at], 0));

/** The colour as linear RGB as an eye of this kind sees it. */
export function seenWith(eye, colour) {
  return times(EYES[eye], channels(colour)).map((one) => Math.min(1, Math.max(0, one)));
}

/** Distance in OKLab of two colours in linear RGB; 0.02 is just noticeable side by side. */
export function distance(one, other) {
  const lab = (rgb) => {
    const cones = times([[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566], [0.0883024619, 0.2817188376, 0.6299787005]], rgb);
    return times([[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099], [0.0259040371, 0.7827717662, -0.808675766]], cones.map(Math.cbrt));
  };
  const [a, b] = [lab(one), lab(other)];
  return Math.hypot(...a.map((value, at) => value - b[at]));
}
