export function ensureFreshDist(): Promise<boolean>
