export function installedPython(): string | null
export function ensurePython(): Promise<{ python: string } | { missing: string }>
