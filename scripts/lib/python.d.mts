export function installedPython(): string | null
export function installedCatalogs(): string | null
export function ensureCatalogs(): Promise<{ python: string } | { missing: string }>
export function ensurePython(): Promise<{ python: string } | { missing: string }>
