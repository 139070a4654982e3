/** Escapes text for XML 1.0, which allows no control characters except tab and line ends. */
export function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll(/[^\t\n\x20-\ud7ff\ue000-\ufffd]/g, '?')
}
